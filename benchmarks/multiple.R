# Several imputations by Amelia or mice, alone in a process: Rscript multiple.R TOOL FOLDER. Reads
# the same arrays as the others, and prints the CPU seconds as one line of JSON.

arguments <- commandArgs(trailingOnly = TRUE)
tool <- arguments[1]
folder <- arguments[2]
suppressWarnings(suppressPackageStartupMessages(library(tool, character.only = TRUE)))

shape <- scan(file.path(folder, "shape.txt"), quiet = TRUE)
values <- readBin(file.path(folder, "holes.f64"), "double", prod(shape))
X <- matrix(values, shape[1], shape[2], byrow = TRUE)
X[is.nan(X)] <- NA
colnames(X) <- paste0("x", seq_len(shape[2]))

set.seed(1)
spent <- system.time(switch(tool,
  Amelia = amelia(X, m = 20, p2s = 0),
  mice = mice(as.data.frame(X), m = 5, maxit = 5, method = "norm", printFlag = FALSE)
))
cat(sprintf('{"seconds": %.3f}\n', spent[["user.self"]] + spent[["sys.self"]]))
