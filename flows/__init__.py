"""What runs, in what order, when: Prefect flows and the command line."""
