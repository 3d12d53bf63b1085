"""A folder as it comes from a hospital or an archive → a manifest, a quality table, and a reason for what is left
out. `scan.scan` is the way in."""
