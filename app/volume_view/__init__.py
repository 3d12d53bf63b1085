"""A CT and its mask in three dimensions, drawn in the reader's browser by NiiVue (BSD-2), which is served from here."""
