"""The commands of `flexict`, one file a kind; each is a thin face over functions of the layers below."""
