# Amelia, mice, norm or lavaan, alone in a process: Rscript peers.R TOOL FOLDER SECONDS. The counterpart of
# peers.py: reads the same arrays, writes the estimate, prints one line of JSON.

arguments <- commandArgs(trailingOnly = TRUE)
tool <- arguments[1]
folder <- arguments[2]
enough <- as.numeric(arguments[3])
suppressWarnings(suppressPackageStartupMessages(library(tool, character.only = TRUE)))

shape <- scan(file.path(folder, "shape.txt"), quiet = TRUE)
values <- readBin(file.path(folder, "holes.f64"), "double", prod(shape))
X <- matrix(values, shape[1], shape[2], byrow = TRUE)
rm(values)

seconds_of <- function(expression) unname(system.time(expression, gcFirst = FALSE)["elapsed"])

# amelia() also draws one imputation; its time is taken off.
imputing <- 0
if (tool == "Amelia") {
  impute <- Amelia:::amelia.impute
  assignInNamespace("amelia.impute", function(...) {
    imputing <<- imputing + seconds_of(result <- impute(...))
    result
  }, "Amelia")
}

fit <- list(
  Amelia = function(X) {
    set.seed(1)
    fitted <- amelia(X, m = 1, boot.type = "none", p2s = 0)
    if (is.null(fitted$mu)) stop(fitted$message)
    # Amelia estimates standardised columns sorted by their missing cells, whatever the names say.
    order_of <- order(colSums(is.na(X)))
    centre <- colMeans(X, na.rm = TRUE)
    scale <- apply(X, 2, sd, na.rm = TRUE)
    mean <- numeric(ncol(X))
    covariance <- matrix(0, ncol(X), ncol(X))
    mean[order_of] <- fitted$mu
    covariance[order_of, order_of] <- fitted$covMatrices[, , 1]
    list(mean = centre + scale * mean, covariance = covariance * outer(scale, scale),
         note = paste(nrow(fitted$iterHist[[1]]), "iterations"))
  },
  # Every column regressed on all others, five rounds: IterativeImputer's method, without a ridge.
  mice = function(X) {
    named <- as.data.frame(X)
    filled <- as.matrix(complete(mice(named, m = 1, method = "norm.predict", printFlag = FALSE)))
    list(mean = colMeans(filled), covariance = cov(filled) * (nrow(X) - 1) / nrow(X),
         note = "norm.predict, 5 rounds; of the filled table", filled = filled)
  },
  # Its estimate and one draw at it; written from its manual and not run, as Debian has no norm.
  norm = function(X) {
    s <- prelim.norm(X)
    theta <- em.norm(s, showits = FALSE)
    rngseed(1)
    filled <- imp.norm(s, theta, X)
    found <- getparam.norm(s, theta)
    list(mean = found$mu, covariance = found$sigma, note = "em.norm and imp.norm", filled = filled)
  },
  lavaan = function(X) {
    fitted <- lavaan:::lav_mvnorm_missing_h1_estimate_moments(X)
    list(mean = fitted$Mu, covariance = fitted$Sigma, note = "")
  }
)[[tool]]

set.seed(2)
small <- matrix(rnorm(180), 60, 3)
small[1:10, 2] <- NA
invisible(fit(small))

seconds <- numeric(0)
while (length(seconds) == 0 || (sum(seconds) < enough && length(seconds) < 9)) {
  imputing <- 0
  elapsed <- seconds_of(estimate <- fit(X))
  seconds <- c(seconds, elapsed - imputing)
}
writeBin(c(estimate$mean, as.vector(estimate$covariance)),
         file.path(folder, paste0(tool, ".f64")))
if (!is.null(estimate$filled)) {
  writeBin(as.vector(t(estimate$filled)), file.path(folder, paste0(tool, ".filled.f64")))
}
cat(sprintf('\n{"seconds": %.6f, "note": "%s"}\n', median(seconds), estimate$note))
