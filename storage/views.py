"""The named queries for the questions of every day, over the tables of one catalog.

Counts are BIGINT, hours are DOUBLE. A view reads tables and the views above it.
"""

from storage.columns import View
from storage.dataset_views import DATASET_VIEWS
from storage.label_views import LABEL_VIEWS
from storage.mix_views import MIX_VIEWS
from storage.source_views import SOURCE_VIEWS

VIEW_LIST: tuple[View, ...] = (*SOURCE_VIEWS, *LABEL_VIEWS, *MIX_VIEWS, *DATASET_VIEWS)
