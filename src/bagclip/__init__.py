"""bagclip: align images with documents by multiple instance learning."""
