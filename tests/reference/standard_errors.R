# Standard errors of means, variances and covariances by lavaan, from the observed information:
#   Rscript standard_errors.R FOLDER, with FOLDER holding NAME.csv; writes standard_errors.json there.
library(lavaan)
library(jsonlite)
folder <- commandArgs(trailingOnly = TRUE)[1]

holzinger <- function() {
  table <- HolzingerSwineford1939[, paste0("x", 1:9)]
  table$x5[table$x1 < quantile(table$x1, 0.3)] <- NA
  table$x9[table$x4 < quantile(table$x4, 0.3)] <- NA
  table
}

saturated <- function(names) {
  pairs <- outer(names, names, paste, sep = " ~~ ")
  paste(c(pairs[lower.tri(pairs, diag = TRUE)], paste(names, "~ 1")), collapse = "\n")
}

errors <- function(table, estimator = "ML") {
  names <- colnames(table) <- paste0("v", seq_along(table))
  scale <- sapply(table, sd, na.rm = TRUE)
  table <- as.data.frame(sweep(table, 2, scale, "/"))
  fit <- lavaan(saturated(names), table, missing = "fiml", information = "observed",
    estimator = estimator, control = list(rel.tol = 1e-13, iter.max = 20000,
    eval.max = 40000), check.gradient = FALSE, baseline = FALSE)
  found <- parameterEstimates(fit, fmi = estimator == "ML")
  index <- function(name) as.integer(sub("v", "", name))
  means <- found[found$op == "~1", ]
  rest <- found[found$op == "~~", ]
  units <- function(x) x * scale[index(rest$lhs)] * scale[index(rest$rhs)]
  kept <- list(
    means = list(column = index(means$lhs), estimate = means$est * scale[index(means$lhs)],
      std_error = means$se * scale[index(means$lhs)]),
    covariances = list(row = index(rest$rhs), column = index(rest$lhs), estimate = units(rest$est),
      std_error = units(rest$se)))
  if (estimator == "ML") {
    kept$means$fmi <- means$fmi
    kept$covariances$fmi <- rest$fmi
  }
  kept
}

# The first column on the second and the last, over all rows.
regression <- function(table) {
  names <- colnames(table) <- paste0("v", seq_along(table))
  last <- names[length(names)]
  fit <- sem(paste("v1 ~ v2 +", last), table, missing = "fiml", information = "observed",
    fixed.x = FALSE)
  found <- parameterEstimates(fit)
  of_v1 <- found[found$lhs == "v1", ]
  list(term = paste0(of_v1$op, of_v1$rhs), estimate = of_v1$est, std_error = of_v1$se,
    r_squared = unname(inspect(fit, "r2")))
}

all <- list()
for (name in c("airquality", "airquality6", "apple", "nhanes", "cholesterol", "norm_mdata", "africa")) {
  table <- read.csv(file.path(folder, paste0(name, ".csv")))
  all[[name]] <- list(observed = errors(table), robust = errors(table, "MLR"))
}
table <- holzinger()
write.csv(table, file.path(folder, "holzinger.csv"), row.names = FALSE, na = "")
all$holzinger <- list(observed = errors(table), robust = errors(table, "MLR"),
  regression = regression(table[, c("x9", "x1", "x5")]))
write_json(all, file.path(folder, "standard_errors.json"), digits = 12, auto_unbox = TRUE, pretty = FALSE)
