"""A study file with comments. It answers for the demo as it stands (`flexict demo` writes it beside its results)."""

EXAMPLE = """\
# A study for `flexict report --config study.yaml --out report`. Every key but store, clinical and id may be left out.
# Relative paths begin at this file's folder and may not leave it; absolute ones are allowed.

title: Do CT embeddings follow the tumour stage in demo cohort A?
question: >
  Do embeddings of chest CT follow the tumour stage, at every step, and beyond tumour size and scanner?

store: store                      # folder of flexict embed or flexict import
clinical: cohort/clinical.csv     # one row a patient (CSV, Parquet, XLSX)
id: patient_id                    # its column of IDs
# id_replace: ["case_=KiTS-"]     # rewrite IDs before joining
where: [cohort=A]                 # keep these patients; "scanner!=S2" leaves some out
embeddings: [baseline]            # several are compared on the same patients

stage: stage                      # the column, and its values from early to late; "Ia+Ib" merges
order: I,II,III,IV
adjust: [tumour_diameter_mm, scanner]   # also feature:NAME and EMBEDDING:NAME
# group: site                     # exchange stages only within these blocks
# describe: [age_years, sex]      # the table of patients; every fitting column when left out
seed: 0

# A section is asked for by its name alone; leave out what you do not ask.
audit:
  permutations: 999
  # near_images: true             # read every CT again and look for two that are nearly the same
project:                          # the map
  method: umap                    # umap, pca or tsne
gradient:
  permutations: 9999
  # axis: axis.json               # an axis learnt on another cohort, applied unchanged
probe:
  - target: sex                   # task: classify, ordinal (with order), regress, survival (with event)
retrieve:
  match: [tumour_diameter_mm]     # a control: only patients alike in these
survival:
  duration: survival_days
  event: event
  unit: days

# What only the authors know goes into the checklist (all keys: background, design, eligibility, setting, ethics,
# source, acquisition, segmentation, reference, treatment, sample_size, protocol, fairness, involvement, funding,
# conflicts, data_sharing, code_sharing, interpretation).
statements:
  source: Computer-drawn phantoms with simulated outcomes; no patient stands behind any of it.
"""
