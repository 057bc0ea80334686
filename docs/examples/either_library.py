"""Digits and diabetes by a multilayer perceptron: change the import line, and nothing else.

It prints the same numbers with either library.
"""

# %% What is needed with either
import warnings

import numpy as np
from sklearn.datasets import load_diabetes, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

# %% The only line to change: from sklearn.neural_network import MLPClassifier, MLPRegressor
from fastmlp import MLPClassifier, MLPRegressor

warnings.simplefilter("ignore", ConvergenceWarning)  # few epochs, to be quick

# %% A classifier: fit, score, probabilities
X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16.0, y, stratify=y, random_state=0)
classifier = MLPClassifier((64,), max_iter=30, learning_rate_init=0.005, random_state=0)
classifier.fit(X_train, y_train)
print(f"digits: accuracy {classifier.score(X_test, y_test):.4f}, loss {classifier.loss_:.4f}")
print(f"the surest digit: {classifier.predict_proba(X_test).max():.4f}")
print(f"weights of the layers: {[weights.shape for weights in classifier.coefs_]}")

# %% Other solvers, in a pipeline with a scaler
for settings in (
    {"solver": "sgd", "learning_rate_init": 0.05, "learning_rate": "invscaling", "power_t": 0.1},
    {"solver": "sgd", "learning_rate_init": 0.05, "batch_size": 50, "nesterovs_momentum": False},
    {"solver": "lbfgs", "alpha": 1.0},
):
    network = MLPClassifier(max_iter=15, random_state=0, **settings)
    accuracy = cross_val_score(make_pipeline(StandardScaler(), network), X, y, cv=3).mean()
    print(f"{settings['solver']}: {accuracy:.4f} over three folds")

# %% Choosing a setting
search = GridSearchCV(
    MLPClassifier((32,), max_iter=15, random_state=0),
    {"activation": ["tanh", "relu"], "alpha": [1e-4, 1.0]},
    cv=3,
)
search.fit(X_train, y_train)
print(f"the best: {search.best_params_} with {search.best_score_:.4f}")

# %% A regressor that stops by itself, with the best parameters
X, y = load_diabetes(return_X_y=True)
X, y = X / X.std(axis=0), (y - y.mean()) / y.std()
regressor = MLPRegressor(
    hidden_layer_sizes=(20,), early_stopping=True, learning_rate_init=0.01, random_state=1
)
regressor.fit(X, y)
print(f"diabetes: R^2 {regressor.score(X, y):.4f} after {regressor.n_iter_} epochs")
print(f"the best held-out score: {regressor.best_validation_score_:.4f}")

# %% The parameters are yours
classifier.intercepts_[-1][3] += 1000.0
print(f"after a nudge every digit is a {np.unique(classifier.predict(X_test))}")
