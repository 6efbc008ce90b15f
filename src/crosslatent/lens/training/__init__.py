"""Training the top blocks.

train_spec, record                what is asked, and what came of it         (no torch)
lens_objective, answer_objective  `train` and `train_answers`: texts or questions -> rows, losses
parallel_rows                     which rows belong together, are held out, and in which order
execution                         one training run, from a job to a saved model
frozen_cache                      what enters the trained blocks, and the reference; once, on disk
fork, trained_blocks              a model that shares all else with the original; its top alone
loop, checkpoints, processes      steps, evaluations, early stopping; resuming; several processes
lora, model_card                  adapters; the model card
"""
