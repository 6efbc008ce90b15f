"""Recipe of the demo model: its small multilingual world, its training and its tasks."""
