"""The tasks that models are trained on, by name."""

from workbench.registry import by_name
from workbench.tasks.anisotropic_regression import AnisotropicRegression
from workbench.tasks.bigram_backcopy import BigramBackcopy
from workbench.tasks.domain_backcopy import DomainBackcopy
from workbench.tasks.facts import LabelFacts, Reference
from workbench.tasks.icl_classification import ICLClassification
from workbench.tasks.in_context_bigram import InContextBigram
from workbench.tasks.linear_dynamics import LinearDynamics
from workbench.tasks.linear_regression import LinearRegression
from workbench.tasks.markov_chains import MarkovChains
from workbench.tasks.multi_task_regression import MultiTaskRegression
from workbench.tasks.nonlinear_regression import NonlinearRegression
from workbench.tasks.random_covariance_regression import RandomCovarianceRegression
from workbench.tasks.random_noise_regression import RandomNoiseRegression
from workbench.tasks.regression import RegressionTask
from workbench.tasks.repeated_tokens import RepeatedTokens
from workbench.tasks.sine_regression import SineRegression
from workbench.tasks.task import Task
from workbench.tasks.token_task import TokenTask

TASKS = by_name(
    LinearRegression,
    AnisotropicRegression,
    RandomCovarianceRegression,
    RandomNoiseRegression,
    NonlinearRegression,
    SineRegression,
    MultiTaskRegression,
    LinearDynamics,
    BigramBackcopy,
    DomainBackcopy,
    InContextBigram,
    MarkovChains,
    ICLClassification,
    RepeatedTokens,
)

__all__ = [
    "TASKS",
    "AnisotropicRegression",
    "BigramBackcopy",
    "DomainBackcopy",
    "ICLClassification",
    "InContextBigram",
    "MarkovChains",
    "LabelFacts",
    "LinearDynamics",
    "LinearRegression",
    "MultiTaskRegression",
    "NonlinearRegression",
    "RandomCovarianceRegression",
    "RandomNoiseRegression",
    "Reference",
    "RegressionTask",
    "RepeatedTokens",
    "SineRegression",
    "Task",
    "TokenTask",
]
