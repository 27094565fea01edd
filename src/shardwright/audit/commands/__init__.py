"""What a command that runs today makes: its layout, memory, figures and faults, and what would be better."""
