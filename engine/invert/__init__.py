"""The quick look: one prompt inverted before your eyes, by the very arms that claims are judged on."""
