"""Public cohorts of the Imaging Data Commons: what its index says (no network needed), and the download of CT
series with their masks. `index` reads the index, `plan.plan_fetch` chooses, `download.download` transfers."""

UNFINISHED = ".flexict-unfinished"  # folder of a download under way; a scan passes it over
