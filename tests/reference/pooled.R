# Analyses of stored imputed tables, pooled by mice: Rscript pooled.R; writes pooled.json here.
suppressPackageStartupMessages(library(mice))
library(jsonlite)

pooled <- function(imp, formula, smaller) {
  fits <- lapply(seq_len(imp$m), function(i) lm(formula, complete(imp, i)))
  less <- lapply(seq_len(imp$m), function(i) lm(smaller, complete(imp, i)))
  all <- summary(pool(as.mira(fits)), conf.int = TRUE)
  found <- pool(as.mira(fits))$pooled
  test <- function(f) {
    t <- f(as.mira(fits), as.mira(less))$result
    list(statistic = t[1], df1 = t[2], df2 = t[3], p = t[4], riv = t[5])
  }
  list(formula = deparse(formula), m = imp$m,
    analyses = lapply(fits, function(fit) list(estimate = unname(coef(fit)), covariance = unname(vcov(fit)))),
    terms = as.character(all$term), estimate = all$estimate, std_error = all$std.error,
    statistic = all$statistic, df = all$df, p_value = all$p.value, conf_low = all[["2.5 %"]],
    conf_high = all[["97.5 %"]], fmi = found$fmi, riv = found$riv, lambda = found$lambda,
    complete_df = found$dfcom[1], smaller = deparse(smaller),
    D1 = test(D1), D2 = test(D2), D3 = test(D3),
    wald = sapply(seq_len(imp$m), function(i) {
      b <- coef(fits[[i]]); V <- vcov(fits[[i]]); extra <- setdiff(names(b), names(coef(less[[i]])))
      as.numeric(b[extra] %*% solve(V[extra, extra]) %*% b[extra])
    }))
}

small <- mice(nhanes, m = 5, seed = 1, print = FALSE)
large <- mice(airquality[, 1:4], m = 20, seed = 2, method = "norm", print = FALSE)
few <- mice(boys[, c("age", "hgt", "wgt", "bmi", "hc")], m = 4, seed = 3, maxit = 3, print = FALSE)
write_json(list(nhanes = pooled(small, chl ~ age + bmi + hyp, chl ~ age),
  airquality = pooled(large, Ozone ~ Solar.R + Wind + Temp, Ozone ~ Temp),
  boys = pooled(few, hc ~ age + hgt + wgt, hc ~ age)),
  "pooled.json", digits = 14, auto_unbox = TRUE)
