"""Layers, the modules they make up, and losses."""

from minicnn.nn import init
from minicnn.nn.activation import ELU, GELU, LeakyReLU, PReLU, ReLU, Sigmoid, SiLU, Softmax, Softplus, Tanh
from minicnn.nn.containers import Concat, DenseBlock, DenseLayer, Residual, Sequential
from minicnn.nn.conv import Conv2d, ConvTranspose2d
from minicnn.nn.dropout import Dropout, Dropout2d
from minicnn.nn.linear import Linear
from minicnn.nn.losses import BCEWithLogitsLoss, CrossEntropyLoss, Loss, MSELoss
from minicnn.nn.module import Module
from minicnn.nn.norm import BatchNorm1d, BatchNorm2d, GroupNorm, LayerNorm
from minicnn.nn.parameter import Parameter
from minicnn.nn.pool import AvgPool2d, GlobalAvgPool2d, MaxPool2d
from minicnn.nn.shape import Flatten, Identity, ZeroPad2d
from minicnn.nn.tape import record

__all__ = [
    "ELU",
    "GELU",
    "AvgPool2d",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "Concat",
    "Conv2d",
    "ConvTranspose2d",
    "CrossEntropyLoss",
    "DenseBlock",
    "DenseLayer",
    "Dropout",
    "Dropout2d",
    "Flatten",
    "GlobalAvgPool2d",
    "GroupNorm",
    "Identity",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "Loss",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "PReLU",
    "Parameter",
    "ReLU",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "ZeroPad2d",
    "init",
    "record",
]
