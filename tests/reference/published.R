# Analyses whose pooled numbers were printed by the author of mice, made again with the random numbers of
# R 3.5: `bmi ~ age` of nhanes, the example of his book, and the model in the tests of mice itself.
suppressMessages(library(mice))
suppressWarnings(RNGversion("3.5.0"))

analyses <- function(fit) lapply(fit$analyses, function(one)
  list(estimate = unname(coef(one)), covariance = unname(vcov(one))))

book <- with(mice(nhanes, print = FALSE, m = 10, seed = 24415, use.matcher = TRUE), lm(bmi ~ age))
tests <- with(
  mice(nhanes2, print = FALSE, maxit = 2, seed = 121, use.matcher = TRUE), lm(bmi ~ chl + age + hyp)
)
cat(jsonlite::toJSON(list(
  book = list(complete_df = 23, analyses = analyses(book)),
  tests = list(complete_df = 20, analyses = analyses(tests))
), digits = NA, auto_unbox = TRUE), "\n", sep = "")
