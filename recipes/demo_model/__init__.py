"""Recipe of the demo model: a small multilingual world, its documents, the training and the tasks."""
