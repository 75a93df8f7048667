"""Character counts that come with the project; ``workbench.tasks.character_counts`` makes and reads them."""
