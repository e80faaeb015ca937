"""The control loop: releases, bindings and servers to Jobs and roll-outs."""
