"""Training the top blocks; `run` has the functions `train` and `train_answers`.

train_spec, record      what is asked, and what came of it         (no torch)
preconditions           what the model and the space must have
batches, answers        texts or questions -> rows of token ids
trunk, shards           what enters the trained blocks, and the reference; once, on disk
fork, top               a model that shares all else with the original; its top blocks alone
losses, objective       the losses; rows -> terms
descent, loop           optimizer and schedule; steps, evaluations, early stopping
checkpoints, processes  going on after a crash; one process or several
saving                  weights in the dtype of their folder, measured in it, and written
job, execution          one training run, from arguments to a saved model
lora, card              adapters; the model card
"""
