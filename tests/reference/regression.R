# A regression pooled over 100 imputations by mice and by Amelia: Rscript regression.R; writes regression.json here.
suppressPackageStartupMessages({library(mice); library(Amelia)})
library(jsonlite)

air <- airquality[, c("Ozone", "Solar.R", "Wind", "Temp")]
pooled <- function(tables) {
  all <- summary(pool(as.mira(lapply(tables, function(table) lm(Ozone ~ Wind + Temp, table)))))
  list(estimate = all$estimate, std_error = all$std.error)
}
imputed <- mice(air, m = 100, maxit = 20, method = "norm", seed = 1, printFlag = FALSE)
by_mice <- pooled(lapply(1:100, function(i) complete(imputed, i)))
set.seed(1)
by_amelia <- pooled(amelia(air, m = 100, p2s = 0)$imputations)
write_json(list(mice = by_mice, Amelia = by_amelia), "regression.json", digits = 8, auto_unbox = TRUE)
