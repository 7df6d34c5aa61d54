"""Reports that people send on: a day, a week or a month of spend, from closed days and the agents' own numbers."""
