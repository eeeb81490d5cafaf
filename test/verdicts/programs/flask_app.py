# SPDX-License-Identifier: Apache-2.0
"""Sessions in signed cookies: nothing is kept here."""

import flask

app = flask.Flask(__name__)
app.secret_key = b"the same in every replica"


@app.route("/")
def visit():
    flask.session["visits"] = flask.session.get("visits", 0) + 1
    return f"{flask.session['visits']}\n"
