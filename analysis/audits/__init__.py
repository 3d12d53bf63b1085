"""Parts of the audit (`analysis.audit`): one file a question."""
