-- Health of a BaseModelRelease, an AdapterBinding or an AdapterServer, by its conditions.
-- An upgrade that waits or has failed leaves Ready as it is, so it degrades nothing; the message tells of it.
local status = obj.status or {}
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end

local function is_true(name)
  return conditions[name] ~= nil and conditions[name].status == "True"
end

local function health(name, condition)
  return {status = name, message = condition.reason .. ": " .. (condition.message or "")}
end

if conditions.Ready == nil or status.observedGeneration ~= obj.metadata.generation then
  return {status = "Progressing", message = "the operator has not seen this version of the object yet"}
end
if is_true("Stalled") then
  return health("Degraded", conditions.Stalled)
end
if is_true("Ready") and not is_true("Reconciling") then
  return health("Healthy", conditions.UpToDate or conditions.Complete or conditions.Ready)
end
return health("Progressing", conditions.Ready)
