"""The store: embeddings on Parquet, one folder each, readable by any Parquet tool.

Labels never enter a store; images are referred to by path, never copied. Reading and listing are in
`embedding_store`, writing in `writer`, the files in `format`, which rows count in `index`, vectors made elsewhere in
`vectors`.
"""

from flexict_core.store.embedding_store import EmbeddingInfo, EmbeddingStore, EmbeddingTable
from flexict_core.store.vectors import ImportReport, import_vectors
from flexict_core.store.writer import EmbeddingWriter

__all__ = [
    "EmbeddingInfo",
    "EmbeddingStore",
    "EmbeddingTable",
    "EmbeddingWriter",
    "ImportReport",
    "import_vectors",
]
