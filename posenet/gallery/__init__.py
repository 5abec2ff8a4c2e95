"""The losses in pictures and tables: what `posenet losses` prints and draws."""
