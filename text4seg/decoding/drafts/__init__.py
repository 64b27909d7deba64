"""How an answer goes on, guessed from the geometry of what is written."""
