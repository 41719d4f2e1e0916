"""Room: encode and decode blocks of rows."""
