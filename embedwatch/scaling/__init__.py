"""How many workers a queue needs: the policy, what it is compared with, and a simulator for both. Pure."""
