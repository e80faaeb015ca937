"""The page of a re-adaptation for people: one HTML file and one picture, drawn from its request and its reports."""
