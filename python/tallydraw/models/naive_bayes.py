"""NaiveBayes: features independent given the class; without a class, the product of categoricals."""

from __future__ import annotations

from tallydraw.models._tree_model import TreeModel

__all__ = ["NaiveBayes"]


class NaiveBayes(TreeModel):
    """Independent features given the class: p(y) prod_j p(x_j | y); without a class, the product of categoricals.

    Parameters
    ----------
    alpha : float, one a category, one a feature, or array (d, C), default 0.0
        Pseudocounts. 0.0 is the maximum-likelihood estimate n / N. One number smooths the class prior too.
    n_categories : int or array_like of int, shape (d,), optional
        Default: the largest code + 1 of each feature at the first fit.
    missing : int, optional
        A code that means missing, besides the negative ones.
    unseen : {"error", "missing"}, default "error"

    Notes
    -----
    (K - 1) + K * sum(C_j - 1) parameters. A missing cell is neither counted nor scored: the maximum-likelihood estimate
    under missing at random, and exact marginals. To fit reads the data once; to score a row costs d * K additions.

    Examples
    --------
    >>> import tallydraw as td
    >>> X = [[0, 0], [0, 0], [1, 0], [1, 1], [1, 1], [0, 0], [0, 1], [1, 0], [1, 0], [1, 1]]
    >>> y = [1, 1, 1, 0, 0, 0, 0, 0, 1, 1]
    >>> model = td.NaiveBayes().fit(X, y)
    >>> model.predict_proba([[0, 1]]).round(12)
    array([[0.75, 0.25]])
    """
