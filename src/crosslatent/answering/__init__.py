"""From items and interventions to judged rows."""
