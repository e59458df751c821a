"""Dataset files of other trainers as sources: their folders, repeats and caption settings."""
