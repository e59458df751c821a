"""The paper's maths as pure functions of tensors; imports torch and `nadir.ground` only."""
