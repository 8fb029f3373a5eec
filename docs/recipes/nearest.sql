-- DuckDB, after SET VARIABLE files = 'out/*.parquet': the ten rows nearest to the one with id 0, among all files. 384 are the dimensions;
-- functions of lists, which need no number, stumble over rows without a vector. Of a model that normalises its vectors the product is
-- the cosine.
WITH rows AS (
    SELECT id, text, embedding::FLOAT[384] AS embedding
    FROM read_parquet(getvariable('files'))
    WHERE embedding IS NOT NULL
)
SELECT rows.id, rows.text, array_inner_product(rows.embedding, query.embedding) AS score
FROM rows, (SELECT embedding FROM rows WHERE id = 0) AS query
ORDER BY score DESC, rows.id
LIMIT 10;
