"""What a run tells those who watch from outside: numbers, and how far the dataset has drifted."""
