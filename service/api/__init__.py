"""The doors: each decodes, calls the engine and encodes; no decision is made here."""
