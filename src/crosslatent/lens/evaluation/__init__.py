"""Conditions side by side on one task; `run` has the function `evaluate`.

conditions, parsing     what a model is compared under, and its form on the command line
checks                  what is refused before anything is answered
asking, running         questions and their answers under a condition
comparing, retention    paired figures; how far next-token distributions moved
contents                which tokens of a chat prompt are the text itself
results                 the results of an evaluation, and its folder   (no torch)
"""
