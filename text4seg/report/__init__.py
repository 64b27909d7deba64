"""Tables, pictures and the run's stamp."""
