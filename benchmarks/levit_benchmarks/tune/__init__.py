"""levit-tune: which variant, engine, threads and batch meet a goal on this machine; measured, not modelled."""
