"""The person's machine: shows the agent's events, runs its local tools, and holds nothing that the log does not."""
