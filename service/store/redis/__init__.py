"""Sessions in Redis or Valkey: any process serves any of them, and one at a time owns each."""
