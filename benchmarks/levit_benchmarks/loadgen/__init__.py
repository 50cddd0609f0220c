"""A bundle driven by MLPerf LoadGen, with short settings: never an MLPerf result."""
