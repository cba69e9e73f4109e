"""The contract of every registered model; a new family is picked up by being registered."""

from qacomp.models import list_models
from qacomp.testing import ModelSuite, suites_of

globals().update(suites_of(ModelSuite, list_models()))
