"""Models: joint distributions over discrete features, and a class, that are counted, drawn from and scored."""

from __future__ import annotations

from tallydraw.models.base import Model
from tallydraw.models.categorical import Categorical
from tallydraw.models.chow_liu import ChowLiuTree
from tallydraw.models.joint import JointTable
from tallydraw.models.markov import MarkovChain
from tallydraw.models.mixture import Mixture
from tallydraw.models.naive_bayes import NaiveBayes

__all__ = ["Categorical", "ChowLiuTree", "JointTable", "MarkovChain", "Mixture", "Model", "NaiveBayes"]
