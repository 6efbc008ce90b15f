"""Conditions side by side on one task.

evaluating                `evaluate`: everything of one evaluation, paired figures
evaluated_conditions      what a model is compared under, and its form on the command line
checks, exposure          what is refused before anything is answered; what was trained on
asking, running           questions and their answers under a condition
retention                 how far next-token distributions moved
evaluation_record         the results of an evaluation, and its folder   (no torch)
"""
