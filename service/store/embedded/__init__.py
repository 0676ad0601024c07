"""Sessions on the local disk: a journal of calls, and records of sessions in LMDB."""
