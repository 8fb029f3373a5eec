-- DuckDB, after SET VARIABLE files = 'out/*.parquet': the ten rows nearest to the one with id 0, among all files. Vectors of a model that
-- normalises them have their cosine for a product.
WITH query AS (SELECT embedding FROM read_parquet(getvariable('files')) WHERE id = 0)
SELECT rows.id, rows.text, list_inner_product(rows.embedding, query.embedding) AS score
FROM read_parquet(getvariable('files')) AS rows, query
WHERE rows.embedding IS NOT NULL
ORDER BY score DESC, rows.id
LIMIT 10;
