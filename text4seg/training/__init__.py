"""What a training run is made of: its folder, its journal, its trainer."""
