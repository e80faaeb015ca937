"""What re-adaptation costs and brings: its parts and its strategies beside what they stand in for, in one run."""
